"""What each metric means, in one or two plain sentences, and which question it belongs to."""

from __future__ import annotations

KERNEL = ("KD", "KID")
MEANINGS = {
    "KD": "Kernel distance: how far apart the two sets of images lie, by the features of a network. Near 0 where they "
    "cannot be told apart.",
    "KID": "Kernel Inception distance: how far apart the two sets of images lie, by Inception features. Near 0 "
    "where they cannot be told apart.",
    "FD": "Fréchet distance between two Gaussians fitted to the same features. Grows as images get fewer: compare "
    "only at equal numbers.",
    "FID": "Fréchet Inception distance. Grows as images get fewer: compare only at equal numbers.",
    "Precision": "Share of generated images that lie among the real ones. Low where images are wrong; blind to what is "
    "missing.",
    "Density": "How densely real images surround each generated one. Should match real images of other subjects: "
    "average images have more, and are no better for it.",
    "Critic-JS": "Jensen-Shannon distance by an independent critic: a network trained to tell real from generated, and "
    "judged on subjects it has not seen. A lower bound, 0 to 0.69: a weak critic finds too little, never too much.",
    "Critic-chi2": "Pearson's chi-squared distance by an independent critic. A lower bound, 0 to 1.",
    "Critic-KL": "Kullback-Leibler divergence by an independent critic. A lower bound.",
    "Critic-Wasserstein": "Score of an independent critic with a gradient penalty. No bound of anything: compare it "
    "with real against real only.",
    "Critic-A": "Test loss of a critic with the labels swapped: large where real and generated are easily told apart.",
    "Recall": "Share of real images that lie among the generated ones. Low where kinds of images are missing; blind to "
    "wrong images among right ones.",
    "Coverage": "Share of real images with a generated one nearby. Low where images are wrong or kinds are missing.",
    "Diversity": "How far apart pairs of images are. Should match real pairs of different subjects; well below, the "
    "generator repeats itself.",
    "MS-SSIM": "Mean similarity of pairs of generated images. Above that of real pairs, the generator repeats "
    "itself.",
    "Duplicates": "Share of generated images that are all but the same as another generated one.",
    "Copies": "Share of generated images that are copies of training images, beyond what images of new patients give "
    "by chance.",
    "Copies-test": "The same for test images: the generator never saw them, so that any share above 0 is chance, or "
    "patients in two splits.",
    "Leak": "Test images that are copies of training images: the split is not clean, and every figure against test "
    "flatters.",
    "Membership": "How well the discriminator's score tells training images from test images of other patients. "
    "0.5: not at all.",
    "Gaps": "Share of test images nearer to a generated than to any training image, at equal numbers. 0.5 is as good "
    "as new patients; below, generated images add less than these would.",
    "SSIM": "Mean structural similarity of pairs of images. Should match that of real pairs; blur and empty "
    "background raise it.",
    "Histogram": "How far apart the grey values of real and generated images are, on the grey scale.",
    "Spectrum": "How far apart the power spectra are, from coarse to fine detail. Blur shows as too little at high "
    "frequencies, a checkerboard as a peak.",
    "Sharpness": "How much fine detail the images hold. Should match: less is blur, more is noise.",
    "Variance": "How much pixels differ from image to image; should match real pairs of different subjects. Less: the "
    "generator repeats itself.",
}
SECTIONS = {
    "Do they look real?": ("KD", "KID", "FD", "FID", "Precision", "Density", "Critic-JS", "Critic-chi2", "Critic-KL",
                           "Critic-Wasserstein", "Critic-A"),
    "Are all kinds there, without repeats?": ("Recall", "Coverage", "Diversity", "MS-SSIM", "Duplicates"),
    "Are they copies of patients?": ("Copies", "Copies-test", "Leak", "Membership", "Gaps"),
    "Are grey values and detail right?": ("SSIM", "Histogram", "Spectrum", "Sharpness", "Variance"),
}
OTHER = "Further figures"


def kind(name: str) -> str:
    """The metric without its extractor or number of scales: KD of KD-Lite0, MS-SSIM of MS-SSIM-3."""
    return max((kind for kind in MEANINGS if name.lower().startswith(kind.lower())), key=len, default=name)


def meaning(name: str) -> str:
    """What a metric means; "" of one that is not known."""
    return MEANINGS.get(kind(name), "")


def section(name: str) -> str:
    """The question that a metric belongs to."""
    return next((title for title, kinds in SECTIONS.items() if kind(name) in kinds), OTHER)
