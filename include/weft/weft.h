/* SPDX-License-Identifier: MIT */
#ifndef WEFT_H
#define WEFT_H
/* All of Weft. Each header stands alone, too. */
#include <weft/address.h>
#include <weft/base.h>
#include <weft/channel.h>
#include <weft/dns.h>
#include <weft/error.h>
#include <weft/file.h>
#include <weft/framing.h>
#include <weft/group.h>
#include <weft/http.h>
#include <weft/http_client.h>
#include <weft/http_server.h>
#include <weft/listener.h>
#include <weft/log.h>
#include <weft/offload.h>
#include <weft/protocol.h>
#include <weft/random.h>
#include <weft/run.h>
#include <weft/server.h>
#include <weft/signal.h>
#include <weft/sim.h>
#include <weft/stream.h>
#include <weft/sync.h>
#include <weft/time.h>
#include <weft/tls.h>
#include <weft/tree.h>
#include <weft/udp.h>
#include <weft/url.h>
#include <weft/websocket.h>
#endif
