"""The fast backend: JPEG by simplejpeg, uint8 arrays, SIMD resize, straight into the batch."""
