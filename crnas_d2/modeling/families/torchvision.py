"""How torchvision prepares the images of its networks, in the words of Detectron2's config."""

# Pixel values of 0 to 255.
TORCHVISION_INPUT = {
    "INPUT.FORMAT": "RGB",
    "MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53],
    "MODEL.PIXEL_STD": [58.395, 57.12, 57.375],
}
