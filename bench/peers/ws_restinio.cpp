// SPDX-License-Identifier: MIT

// RESTinio over Asio, one thread (single_thread_traits). What goes to all is one shared string.
// Floor 6.
#include <map>
#include <memory>
#include <string>

#include <restinio/all.hpp>
#include <restinio/websocket/websocket.hpp>

#include "common.h"

namespace rws = restinio::websocket::basic;

using traits =
    restinio::single_thread_traits_t<restinio::asio_timer_manager_t, restinio::null_logger_t>;
static std::map<std::uint64_t, rws::ws_handle_t> guests;
static bool broadcast;

static void got(rws::ws_handle_t h, rws::message_handle_t m)
{
    auto op = m->opcode();
    if (op == rws::opcode_t::connection_close_frame) {
        guests.erase(h->connection_id());
        return;
    }
    if (op != rws::opcode_t::binary_frame && op != rws::opcode_t::text_frame)
        return;
    if (!broadcast) {
        h->send_message(*m);
        return;
    }
    auto shared = std::make_shared<std::string>(m->payload());
    for (auto &g : guests)
        g.second->send_message(rws::final_frame, op, restinio::writable_item_t{shared});
}

int main(int argc, char **argv)
{
    uint16_t port = peer_begin(argc, argv);
    broadcast = strcmp(peer_option(argc, argv, "--mode", "echo"), "broadcast") == 0;
    restinio::asio_ns::io_context io(1);
    restinio::http_server_t<traits> server{
        restinio::external_io_context(io), [&](auto &s) {
            s.address("127.0.0.1")
                .port(port)
                .acceptor_options_setter([](auto &o) {
                    o.set_option(restinio::asio_ns::ip::tcp::acceptor::reuse_address(true));
                })
                .socket_options_setter(
                    [](auto &o) { o.set_option(restinio::asio_ns::ip::tcp::no_delay{true}); })
                .acceptor_post_bind_hook([](auto &a) {
                    printf("listening tcp://127.0.0.1:%u\n", (unsigned)a.local_endpoint().port());
                    fflush(stdout);
                })
                .request_handler([](restinio::request_handle_t q) {
                    auto h = rws::upgrade<traits>(*q, rws::activation_t::immediate, got);
                    guests.emplace(h->connection_id(), h);
                    return restinio::request_accepted();
                });
        }};
    server.open_sync();
    io.run();
    return 0;
}
