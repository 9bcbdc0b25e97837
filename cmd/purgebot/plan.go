package main

type planCmd struct{}

func (c *planCmd) Run(std streams) error { return usage("not built yet") }
