"""The native op: sources, and what builds them. The installed package has it as cb_keras._ops."""
