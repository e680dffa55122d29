package main

import "os"

// passedOn are the signals that a COMMAND gets from proxy. On Windows, it gets Ctrl-C from
// the console.
var passedOn = []os.Signal{os.Interrupt}
