"""The study ``noise``: 1/f fluctuations in the activations of sequence models, and what imitates them."""
