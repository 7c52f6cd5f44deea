"""What CircleCI sends: signatures, bodies, and samples of them. Bytes in, a verdict out."""
