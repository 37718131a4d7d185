// SPDX-License-Identifier: MIT

// WebSocket++ over Asio, one thread, no TLS, no logging. A message for all is prepared by the
// library for each receiver; the payload is shared. Floor 6.
#include <set>

#include <websocketpp/concurrency/none.hpp>
#include <websocketpp/config/asio_no_tls.hpp>
#include <websocketpp/logger/stub.hpp>
#include <websocketpp/server.hpp>

#include "common.h"

struct config : public websocketpp::config::asio {
    typedef websocketpp::config::asio base;
    // One thread: no locks.
    typedef websocketpp::concurrency::none concurrency_type;
    typedef websocketpp::log::stub elog_type;
    typedef websocketpp::log::stub alog_type;
    struct transport_config : public base::transport_config {
        typedef websocketpp::concurrency::none concurrency_type;
        typedef websocketpp::log::stub elog_type;
        typedef websocketpp::log::stub alog_type;
        static bool const enable_multithreading = false;
    };
    typedef websocketpp::transport::asio::endpoint<transport_config> transport_type;
};

typedef websocketpp::server<config> server;

int main(int argc, char **argv)
{
    uint16_t port = peer_begin(argc, argv);
    bool broadcast = strcmp(peer_option(argc, argv, "--mode", "echo"), "broadcast") == 0;
    std::set<server::connection_ptr> guests;
    server s;
    s.init_asio();
    s.set_reuse_addr(true);
    s.set_listen_backlog(PEER_BACKLOG);
    s.set_tcp_post_init_handler([&](websocketpp::connection_hdl h) {
        asio::error_code ec;
        s.get_con_from_hdl(h)->get_raw_socket().set_option(asio::ip::tcp::no_delay(true), ec);
    });
    s.set_open_handler(
        [&](websocketpp::connection_hdl h) { guests.insert(s.get_con_from_hdl(h)); });
    s.set_close_handler(
        [&](websocketpp::connection_hdl h) { guests.erase(s.get_con_from_hdl(h)); });
    s.set_message_handler([&](websocketpp::connection_hdl h, server::message_ptr m) {
        if (!broadcast) {
            s.get_con_from_hdl(h)->send(m->get_payload(), m->get_opcode());
            return;
        }
        for (auto &g : guests)
            if (g->get_buffered_amount() < (1u << 20))
                g->send(m->get_payload(), m->get_opcode());
    });
    s.listen(asio::ip::tcp::endpoint(asio::ip::address_v4::loopback(), port));
    s.start_accept();
    asio::error_code ec;
    printf("listening tcp://127.0.0.1:%u\n", (unsigned)s.get_local_endpoint(ec).port());
    fflush(stdout);
    s.run();
    return 0;
}
