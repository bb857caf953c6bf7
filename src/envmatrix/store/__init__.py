"""What lies on disk: layout, records, committed resolutions, and the book of evidence."""
