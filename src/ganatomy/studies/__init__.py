"""The augmentation study: do synthetic images help a classifier? See docs/study.md."""
