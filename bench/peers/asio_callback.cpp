/* SPDX-License-Identifier: MIT */
/*
 * Asio with callbacks, as its experts write it: one thread and no locks, the executor's own type
 * instead of the type-erased one, the socket and a 16 KiB buffer in one object per connection,
 * which owns itself (no shared_ptr in the hot path). Floor 6.
 */
#define ASIO_STANDALONE
#define ASIO_DISABLE_THREADS
#include <asio.hpp>

#include "common.h"

using asio::ip::tcp;
using executor = asio::io_context::executor_type;
using tcp_socket = asio::basic_stream_socket<tcp, executor>;
using tcp_acceptor = asio::basic_socket_acceptor<tcp, executor>;

namespace
{

class session
{
  public:
    explicit session(tcp_socket socket) : socket_(std::move(socket)) {}

    void read()
    {
        socket_.async_read_some(asio::buffer(data_), [this](asio::error_code ec, std::size_t n) {
            if (ec) {
                delete this;
            } else {
                write(n);
            }
        });
    }

  private:
    void write(std::size_t n)
    {
        asio::async_write(socket_, asio::buffer(data_, n),
                          [this](asio::error_code ec, std::size_t) {
                              if (ec) {
                                  delete this;
                              } else {
                                  read();
                              }
                          });
    }

    tcp_socket socket_;
    char data_[PEER_BUFFER];
};

void accept_next(tcp_acceptor &acceptor)
{
    acceptor.async_accept([&acceptor](asio::error_code ec, tcp_socket socket) {
        if (!ec) {
            (new session(std::move(socket)))->read();
        }
        accept_next(acceptor);
    });
}

} // namespace

int main(int argc, char **argv)
{
    uint16_t port = peer_begin(argc, argv);
    asio::io_context ctx(ASIO_CONCURRENCY_HINT_UNSAFE);
    tcp_acceptor acceptor(ctx.get_executor());
    acceptor.assign(tcp::v4(), peer_listen(port, 0));
    accept_next(acceptor);
    ctx.run();
}
