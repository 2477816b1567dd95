"""``sweep.html``: one page of a sweep, with a table, a heat map, box plots and a scatter plot of its runs."""
