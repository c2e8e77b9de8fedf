"""The report as one HTML file that opens from disk: scores, run, figures, and every case to look through.

In the order of the data: sources.py finds a case's files; volumes.py reads them on one grid; encode.py makes them
small; scores.py and tables.py say what the page's tables hold, the worst case first; run_sections.py says what was run;
page.py writes the file; report.py does all of this.
"""
