"""`bodystream eval capture`: live capture of people's motions, measured against the true surface."""
