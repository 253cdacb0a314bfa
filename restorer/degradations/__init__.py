"""Degradations of an image: blur, noise, JPEG, motion, the common corruptions, and the recipes that draw their levels."""
