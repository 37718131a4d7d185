// SPDX-License-Identifier: MIT

// POCO: a thread for each connection, blocking reads and writes; what goes to all is written under
// one lock. Floor 6.
#include <algorithm>
#include <mutex>
#include <vector>

#include <Poco/Net/HTTPRequestHandler.h>
#include <Poco/Net/HTTPRequestHandlerFactory.h>
#include <Poco/Net/HTTPServer.h>
#include <Poco/Net/HTTPServerParams.h>
#include <Poco/Net/ServerSocket.h>
#include <Poco/Net/WebSocket.h>
#include <Poco/ThreadPool.h>
#include <Poco/Timespan.h>

#include "common.h"

using namespace Poco::Net;

static bool broadcast;
static std::mutex mutex;
static std::vector<WebSocket *> guests;

struct handler : HTTPRequestHandler {
    void handleRequest(HTTPServerRequest &q, HTTPServerResponse &r) override
    {
        try {
            WebSocket ws(q, r);
            ws.setReceiveTimeout(Poco::Timespan(3600, 0));
            ws.setNoDelay(true);
            {
                std::lock_guard<std::mutex> lock(mutex);
                guests.push_back(&ws);
            }
            serve(ws);
            std::lock_guard<std::mutex> lock(mutex);
            guests.erase(std::find(guests.begin(), guests.end(), &ws));
        } catch (Poco::Exception &) {
        }
    }

    static void serve(WebSocket &ws)
    {
        std::vector<char> buffer(65536);
        int flags = 0;
        try {
            for (;;) {
                int n = ws.receiveFrame(buffer.data(), (int)buffer.size(), flags);
                if (n <= 0 || (flags & WebSocket::FRAME_OP_BITMASK) == WebSocket::FRAME_OP_CLOSE)
                    return;
                if (!broadcast) {
                    ws.sendFrame(buffer.data(), n, flags);
                    continue;
                }
                std::lock_guard<std::mutex> lock(mutex);
                for (WebSocket *g : guests)
                    g->sendFrame(buffer.data(), n, flags);
            }
        } catch (Poco::Exception &) {
        }
    }
};

struct factory : HTTPRequestHandlerFactory {
    HTTPRequestHandler *createRequestHandler(const HTTPServerRequest &) override
    {
        return new handler;
    }
};

int main(int argc, char **argv)
{
    uint16_t port = peer_begin(argc, argv);
    broadcast = strcmp(peer_option(argc, argv, "--mode", "echo"), "broadcast") == 0;
    Poco::ThreadPool pool(2, 1100);
    HTTPServerParams::Ptr params = new HTTPServerParams;
    params->setMaxThreads(1100);
    params->setMaxQueued(2000);
    ServerSocket listener(SocketAddress("127.0.0.1", port), PEER_BACKLOG);
    HTTPServer server(new factory, pool, listener, params);
    server.start();
    printf("listening tcp://127.0.0.1:%u\n", (unsigned)listener.address().port());
    fflush(stdout);
    for (;;)
        pause();
}
