"""One module for each flowable."""
