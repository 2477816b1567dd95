"""Networks of 50 layers of 4 units on 16 tables, against other techniques and against what a table allows."""
