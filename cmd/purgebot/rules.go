package main

type rulesCheckCmd struct{}

func (c *rulesCheckCmd) Run(std streams) error { return usage("not built yet") }
