// SPDX-License-Identifier: MIT

// Go with github.com/gorilla/websocket, as Debian has it: a goroutine a connection. An echo reads
// and writes there. What goes to all is prepared once (PreparedMessage) and written by a goroutine
// for each, behind a bounded channel: the library's own chat example, with the frame shared.
package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"

	"github.com/gorilla/websocket"
)

var broadcast bool
var upgrader = websocket.Upgrader{CheckOrigin: func(r *http.Request) bool { return true }}
var mutex sync.RWMutex
var guests = map[chan *websocket.PreparedMessage]bool{}

func sayToAll(kind int, data []byte) {
	m, err := websocket.NewPreparedMessage(kind, data)
	if err != nil {
		return
	}
	mutex.RLock()
	for g := range guests {
		select {
		case g <- m:
		default: // does not keep up: misses it
		}
	}
	mutex.RUnlock()
}

func write(c *websocket.Conn, mine chan *websocket.PreparedMessage) {
	for m := range mine {
		if c.WritePreparedMessage(m) != nil {
			return
		}
	}
}

func serve(w http.ResponseWriter, r *http.Request) {
	c, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer c.Close()
	if broadcast {
		mine := make(chan *websocket.PreparedMessage, 64)
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
		kind, data, err := c.ReadMessage()
		if err != nil {
			return
		}
		if broadcast {
			sayToAll(kind, data)
		} else if c.WriteMessage(kind, data) != nil {
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
