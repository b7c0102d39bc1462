"""A help desk run by agents, with a scripted model: real spans of a believable afternoon, without a key or a cent."""
