"""Networks of 50 layers of 4 units on 16 data sets, against other techniques and against what a data set allows."""
