"""Input devices as the kernel lists them: keypads and touch panels are found here, by what stays the same of them."""
