"""What all tests share."""

import torch

# the tensors of the tests are small: a second thread only waits for the first
torch.set_num_threads(1)
