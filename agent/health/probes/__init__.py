"""One file per subject: what a look at it gives (a sample) and which rules judge the samples. Listed in catalog.py."""
