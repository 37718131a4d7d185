// SPDX-License-Identifier: MIT

// Boost.Beast over Boost.Asio, callbacks, one thread, no strand. Echo: the buffer that was read is
// written. To all: one shared buffer, a bounded queue for each receiver. Floor 6.
#include <deque>
#include <memory>
#include <set>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/websocket.hpp>

#include "common.h"

namespace asio = boost::asio;
namespace beast = boost::beast;
using tcp = boost::asio::ip::tcp;
using error = boost::system::error_code;

// The executor's own type: no type erasure on each call.
using acceptor = asio::basic_socket_acceptor<tcp, asio::io_context::executor_type>;
using socket_type = asio::basic_stream_socket<tcp, asio::io_context::executor_type>;
using stream = beast::websocket::stream<socket_type, false>;

static bool broadcast;

struct session : std::enable_shared_from_this<session> {
    explicit session(socket_type &&s) : ws(std::move(s)) {}

    void start()
    {
        beast::websocket::stream_base::timeout t{std::chrono::seconds(10), std::chrono::hours(1),
                                                 false};
        ws.set_option(t);
        ws.binary(true);
        ws.auto_fragment(false);
        ws.async_accept([self = shared_from_this()](error e) {
            if (e)
                return;
            if (broadcast)
                all.insert(self.get());
            self->read();
        });
    }

    ~session() { all.erase(this); }

    void read()
    {
        ws.async_read(in, [self = shared_from_this()](error e, std::size_t) {
            if (e) {
                all.erase(self.get());
                return;
            }
            broadcast ? self->to_all() : self->back();
        });
    }

    void back()
    {
        ws.async_write(in.data(), [self = shared_from_this()](error e, std::size_t) {
            if (e)
                return;
            self->in.clear();
            self->read();
        });
    }

    void to_all()
    {
        auto m = std::make_shared<std::string const>(beast::buffers_to_string(in.data()));
        in.clear();
        for (session *s : all)
            s->give(m);
        read();
    }

    void give(std::shared_ptr<std::string const> const &m)
    {
        if (out.size() >= 64)
            return; // does not keep up: misses it
        out.push_back(m);
        if (out.size() == 1)
            write();
    }

    void write()
    {
        ws.async_write(asio::buffer(*out.front()),
                       [self = shared_from_this()](error e, std::size_t) {
                           if (e)
                               return;
                           self->out.pop_front();
                           if (!self->out.empty())
                               self->write();
                       });
    }

    stream ws;
    beast::flat_buffer in;
    std::deque<std::shared_ptr<std::string const>> out;
    static std::set<session *> all;
};

std::set<session *> session::all;

static void accept_on(acceptor &a)
{
    a.async_accept([&a](error e, socket_type s) {
        if (!e) {
            s.set_option(tcp::no_delay(true));
            std::make_shared<session>(std::move(s))->start();
        }
        accept_on(a);
    });
}

int main(int argc, char **argv)
{
    uint16_t port = peer_begin(argc, argv);
    broadcast = strcmp(peer_option(argc, argv, "--mode", "echo"), "broadcast") == 0;
    asio::io_context io(1);
    acceptor a(io.get_executor());
    a.open(tcp::v4());
    a.set_option(asio::socket_base::reuse_address(true));
    a.bind(tcp::endpoint(asio::ip::address_v4::loopback(), port));
    a.listen(PEER_BACKLOG);
    printf("listening tcp://127.0.0.1:%u\n", (unsigned)a.local_endpoint().port());
    fflush(stdout);
    accept_on(a);
    io.run();
    return 0;
}
