/* fuse.h - what the files of the pass that makes groups share; private to it.
 * fuse_places.c: layouts and places; fuse.c: groups; fuse_order.c: the order in which they run. */
#ifndef SALUN_KERNEL_FUSE_H
#define SALUN_KERNEL_FUSE_H

#include "kernel/group.h"
#include "kernel/module.h"

typedef uint64_t Word;
enum { WORD_BITS = 64 };

typedef struct {
    Arena *arena;
    Graph *graph;
    const Target *target;
    bool blas;
    Group **groups; int count, cap;
    Word **before;               /* before[g]: the groups that must run before g */
    int words;                   /* of one such set */
} Fuse;

/* Constants and run-time scalars that a loop nest cannot read, or that are written out, become MAPs. */
void fuse_leaves(Fuse *f);
/* Notes every node with its layout; what another value's memory already holds is an alias. */
void fuse_layouts(Fuse *f);
/* Gives what the user or a table sees its place. */
void fuse_places(Fuse *f);
void fuse_claim(Node *n, int space, int64_t offset);    /* n's value lies there */
int fuse_effect_space(const Effect *e);
int64_t fuse_effect_offset(const Effect *e);            /* bytes */
/* The groups in an order that `before` allows; sets their ids to their places in it. */
Group **fuse_order(Fuse *f);

Node *fuse_resolve(Node *n);                     /* the value whose memory n is */
bool fuse_before(const Fuse *f, int b, int g);   /* whether group b must run before group g */
bool fuse_immediate(const Node *n);              /* a constant or run-time scalar: needs no memory in a MAP */
bool fuse_trains(const Fuse *f);                 /* a graph of forward and backward pass */
bool fuse_late(const Group *g);                  /* a forward value's second time */
#endif
