"""Detectron2's box heads for images that are not as large as COCO's."""

from detectron2.modeling import ROI_HEADS_REGISTRY, StandardROIHeads

__all__ = ["ScaledROIHeads"]


@ROI_HEADS_REGISTRY.register()
class ScaledROIHeads(StandardROIHeads):
    """StandardROIHeads that choose the pyramid level of a box by a size of your own.

    FPN (Lin et al. 2017, equation 1) pools a box of side 224, the canonical size of ImageNet, from
    p4, one of half that side from p3 and so on. On images of 192 pixels all but the largest
    objects are then pooled from p2, and what the deep stages compute hardly counts.
    ``MODEL.ROI_BOX_HEAD.CANONICAL_BOX_SIZE`` sets another side, pixels.
    """

    @classmethod
    def _init_box_head(cls, cfg, input_shape):
        built = super()._init_box_head(cfg, input_shape)
        built["box_pooler"].canonical_box_size = cfg.MODEL.ROI_BOX_HEAD.CANONICAL_BOX_SIZE
        return built
