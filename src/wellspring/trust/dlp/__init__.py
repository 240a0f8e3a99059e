"""Detection of personal data in text: detectors in packs, and the scanner that searches texts and columns."""
