"""Photos with annotated objects, as files on a disk."""
