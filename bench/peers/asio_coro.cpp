/* SPDX-License-Identifier: MIT */
/*
 * Asio with C++20 coroutines: one coroutine per connection, its buffer in the coroutine's frame;
 * errors by code rather than by exception, one thread and no locks, the executor's own type
 * instead of the type-erased one. Floor 6.
 */
#define ASIO_STANDALONE
#define ASIO_DISABLE_THREADS
#include <asio.hpp>

#include "common.h"

using asio::ip::tcp;
using executor = asio::io_context::executor_type;
using tcp_socket = asio::basic_stream_socket<tcp, executor>;
using tcp_acceptor = asio::basic_socket_acceptor<tcp, executor>;
using awaitable = asio::awaitable<void, executor>;
constexpr asio::use_awaitable_t<executor> use_awaitable;

namespace
{

awaitable echo(tcp_socket socket)
{
    char data[PEER_BUFFER];
    asio::error_code ec;
    auto token = asio::redirect_error(use_awaitable, ec);
    for (;;) {
        std::size_t n = co_await socket.async_read_some(asio::buffer(data), token);
        if (ec) {
            co_return;
        }
        co_await asio::async_write(socket, asio::buffer(data, n), token);
        if (ec) {
            co_return;
        }
    }
}

awaitable serve(tcp_acceptor acceptor)
{
    asio::error_code ec;
    for (;;) {
        tcp_socket socket = co_await acceptor.async_accept(asio::redirect_error(use_awaitable, ec));
        if (!ec) {
            asio::co_spawn(acceptor.get_executor(), echo(std::move(socket)), asio::detached);
        }
    }
}

} // namespace

int main(int argc, char **argv)
{
    uint16_t port = peer_begin(argc, argv);
    asio::io_context ctx(ASIO_CONCURRENCY_HINT_UNSAFE);
    tcp_acceptor acceptor(ctx.get_executor());
    acceptor.assign(tcp::v4(), peer_listen(port, 0));
    asio::co_spawn(ctx.get_executor(), serve(std::move(acceptor)), asio::detached);
    ctx.run();
}
