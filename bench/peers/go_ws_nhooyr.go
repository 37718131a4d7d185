// SPDX-License-Identifier: MIT

// Go with nhooyr.io/websocket, as Debian has it, without compression: a goroutine a connection, and
// one more behind a bounded channel where a message goes to all.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"

	"nhooyr.io/websocket"
)

type message struct {
	kind websocket.MessageType
	data []byte
}

var broadcast bool
var options = &websocket.AcceptOptions{
	InsecureSkipVerify: true, CompressionMode: websocket.CompressionDisabled}
var mutex sync.RWMutex
var guests = map[chan message]bool{}

func sayToAll(m message) {
	mutex.RLock()
	for g := range guests {
		select {
		case g <- m:
		default: // does not keep up: misses it
		}
	}
	mutex.RUnlock()
}

func write(c *websocket.Conn, mine chan message) {
	for m := range mine {
		if c.Write(context.Background(), m.kind, m.data) != nil {
			return
		}
	}
}

func serve(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, options)
	if err != nil {
		return
	}
	defer c.Close(websocket.StatusNormalClosure, "")
	if broadcast {
		mine := make(chan message, 64)
		mutex.Lock()
		guests[mine] = true
		mutex.Unlock()
		go write(c, mine)
		defer func() {
			mutex.Lock()
			delete(guests, mine)
			mutex.Unlock()
			close(mine)
		}()
	}
	for {
		kind, data, err := c.Read(context.Background())
		if err != nil {
			return
		}
		if broadcast {
			sayToAll(message{kind, data})
		} else if c.Write(context.Background(), kind, data) != nil {
			return
		}
	}
}

func main() {
	port := flag.Int("port", 0, "port on 127.0.0.1, 0 for any")
	mode := flag.String("mode", "echo", "echo or broadcast")
	flag.Parse()
	broadcast = *mode == "broadcast"
	var lim syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim) == nil {
		lim.Cur = lim.Max
		syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim)
	}
	l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("listening tcp://%s\n", l.Addr())
	http.HandleFunc("/ws", serve)
	fmt.Fprintln(os.Stderr, http.Serve(l, nil))
}
