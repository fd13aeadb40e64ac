// Command clients does a while of real work through client-go and controller-runtime, and fails when something that was
// written was not seen, was seen twice, or was seen out of order. The server may be killed while it works.
//
//	clients informer|reconciler --kubeconfig FILE --namespace NAME --seconds N
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// task is one kind of client; it works until the deadline and answers with a line about what it did.
type task func(ctx context.Context, config *rest.Config, namespace string, length time.Duration) (string, error)

var tasks = map[string]task{"informer": runInformer, "reconciler": runReconciler}

func main() {
	if len(os.Args) < 2 || tasks[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: clients informer|reconciler --kubeconfig FILE --namespace NAME --seconds N")
		os.Exit(2)
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", os.Getenv("KUBECONFIG"), "credentials")
	namespace := flags.String("namespace", "default", "where to work")
	seconds := flags.Int("seconds", 60, "for how long")
	_ = flags.Parse(os.Args[2:])

	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err == nil {
		config.QPS, config.Burst = 500, 500
		var said string
		said, err = tasks[os.Args[1]](context.Background(), config, *namespace, time.Duration(*seconds)*time.Second)
		if err == nil {
			fmt.Println(said)
			return
		}
	}
	fmt.Fprintln(os.Stderr, "FAILED:", err)
	os.Exit(1)
}
