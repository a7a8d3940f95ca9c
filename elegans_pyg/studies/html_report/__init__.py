"""``report.html``: one run, or several side by side, in a self-contained page that opens offline."""
