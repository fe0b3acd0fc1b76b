// The commands of VMware's command-line client that tests use: the published one is a module of its own that replaces
// its parent by a folder, so that `go install` can't build it.
package main

import (
	"os"

	"github.com/vmware/govmomi/cli"
	_ "github.com/vmware/govmomi/cli/importx"
	_ "github.com/vmware/govmomi/cli/vm"
)

func main() {
	os.Exit(cli.Run(os.Args[1:]))
}
