"""What every room uses: errors, files, lazy names."""
