"""The report as one HTML file that opens from disk: scores, run, figures, and every case to look through.

In the order of the data: sources (which files a case has), volumes (read on one grid), encode (small enough),
scores (tables, worst first), run_sections (what was run), page (the file), report (all of it).
"""
