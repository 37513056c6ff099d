"""Two rods with one motor: `PendubotSwingUp-v0` and `AcrobotSwingUp-v0`."""
