// Command pause is the first process of every pod of the local cluster: it holds the pod's namespaces and reaps the
// processes that the pod's containers leave behind when they share its process namespace.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	for {
		select {
		case <-stop:
			return
		case <-died:
			for reaped := true; reaped; {
				pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
				reaped = err == nil && pid > 0
			}
		}
	}
}
