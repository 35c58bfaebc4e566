"""From encoded bytes to an image: decode, crop, resize, augment, within limits."""
