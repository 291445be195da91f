"""Made-up results of images, and scores."""

import numpy as np

from crnas_d2.evaluation import DetectionMatches


def detections(random, num_images, skill):
    """One category: a share ``skill`` of the objects is found, besides three false detections.

    Images are easy or hard as a whole, which is what the noise comes from.
    """
    images = []
    for _ in range(num_images):
        objects = int(random.integers(1, 6))
        found = int((random.random(objects) < np.clip(skill + random.normal(0, 0.3), 0, 1)).sum())
        scores = np.concatenate([random.beta(4, 2, objects)[:found], random.beta(2, 4, 3)])
        true = np.concatenate([np.ones(found, bool), np.zeros(3, bool)])[None]
        images.append((scores, true, np.zeros_like(true), objects))
    return DetectionMatches.from_images([images])


def score(evaluator, predictions):
    """What an evaluator says of pairs of an input and an output."""
    evaluator.reset()
    for image, output in predictions:
        evaluator.process([image], [output])
    return evaluator.evaluate()


def whole(results):
    return float(results.scores(np.ones((1, results.num_images), int))[0])
