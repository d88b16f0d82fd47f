/* The protocol: messages, identities, update codec, sealing, chunks, transport. No model types. */
#ifndef SOTTO_PROTOCOL_H
#define SOTTO_PROTOCOL_H

#include "sotto/base.h"
#include "sotto/protocol/chunk.h"
#include "sotto/protocol/codec.h"
#include "sotto/protocol/identity.h"
#include "sotto/protocol/masked.h"
#include "sotto/protocol/seal.h"
#include "sotto/protocol/secure.h"
#include "sotto/protocol/transport.h"
#include "sotto/protocol/wire.h"

#endif
