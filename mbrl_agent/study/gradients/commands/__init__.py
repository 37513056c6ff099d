"""The commands that look at gradients: what each is asked for, computes, draws and writes."""
