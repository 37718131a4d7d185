#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Twisted's Protocol on its epoll reactor; the transport is its own push producer."""

from twisted.internet import epollreactor

epollreactor.install()

from twisted.internet import protocol, reactor  # noqa: E402

import py_common  # noqa: E402


class Echo(protocol.Protocol):
    def connectionMade(self):
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self.transport, True)
        self.dataReceived = self.transport.write

    def connectionLost(self, reason=protocol.connectionDone):
        self.dataReceived = None
        self.transport.unregisterProducer()


args = py_common.begin()
factory = protocol.Factory.forProtocol(Echo)
factory.noisy = False
port = reactor.listenTCP(args.port, factory, backlog=py_common.BACKLOG, interface="127.0.0.1")
py_common.announce(port.getHost().port)
reactor.run()
