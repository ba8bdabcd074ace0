"""The best peak learning rate of every size and training precision, and the rule that they follow."""
