package cli

import "os"

// passedOn are the signals that proxy passes to a COMMAND. On Windows, the console sends Ctrl-C.
var passedOn = []os.Signal{os.Interrupt}
