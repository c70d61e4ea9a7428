/* train.c - step and update in one: a weight's update stands behind the contraction that has just made its gradient.
 * needs: tables, autodiff, no norm of all gradients (recipe.clip_norm)     keeps: step, update, every value's bits
 *
 * `train` is `step` with the update of optimizer.c in place of the gradient's effect, for weights whose gradient is a
 * contraction (conv.weight, linear layers included): nothing else needs it, so fusion leaves it in registers, and the table
 * GRADS is not touched. All readers of the old weights run before (place_effects in kernel/fuse.c). Other gradients go to
 * GRADS, and `finish` updates their parameters: many small ones with few loops. With clipping there is neither graph: all
 * gradients must be there before the first parameter changes. */
#include "passes/passes.h"

#include <assert.h>

static bool is_fused(const Effect *e) { return e->kind == EFFECT_GRADIENT && e->value->op == OP_CONV_WEIGHT; }

/* The nodes of `from` once more; from's notes are the copies. */
static void copy_nodes(Graph *to, const Graph *from) {
    for (Node *n = from->first; n; n = n->next) {
        Node *copy;
        if (n->op == OP_INPUT)
            copy = graph_input(to, from->inputs[n->attr.input].name, n->type, n->shape, n->channel, n);
        else
            copy = graph_copy(to, n);
        for (int i = 0; i < copy->arity; i++)
            copy->in[i] = n->in[i]->note;
        assert((n->op != OP_INPUT || copy->attr.input == n->attr.input) && "inputs stand in the order of ports");
        n->note = copy;
    }
    for (int i = 0; i < from->output_count; i++)
        graph_output(to, from->outputs[i].name, from->outputs[i].node->note);
}

static void build_train(Program *p, bool *fused) {
    Graph *g = p->train = graph_new(p, "train");
    copy_nodes(g, p->step);
    for (int i = 0; i < p->step->effect_count; i++) {
        const Effect *e = &p->step->effects[i];
        if (!is_fused(e)) {
            graph_effect(g, e->kind, e->tensor, e->value->note);
            continue;
        }
        ParamRun run = param_run(e->tensor);
        update_by(g, &run, e->value->note);
        fused[e->tensor->index] = true;
    }
}

/* Updates [begin, end) of a run, in floats from its start. */
static void update_part(Graph *g, const ParamRun *run, int64_t begin, int64_t end) {
    ParamRun part = *run;
    part.offset += begin;
    part.raw_offset += run->raw_offset >= 0 ? begin : 0;
    part.count = end - begin;
    if (part.count)
        update_by(g, &part, NULL);
}

/* What lies between fused parameters. */
static void update_others(Program *p, const ParamRun *run, const bool *fused) {
    int64_t from = 0;
    while (from < run->count) {
        int64_t begin = run->count, end = run->count;
        for (int i = 0; i < p->tensor_count; i++) {
            int64_t at = p->tensors[i]->offset - run->offset;
            if (fused[i] && at >= from && at < begin) {
                begin = at;
                end = at + param_stride(p->tensors[i]);
            }
        }
        update_part(p->finish, run, from, begin);
        from = end;
    }
}

void pass_train(Program *p) {
    if (!p->step || p->recipe.clip_norm > 0)
        return;
    int count;
    ParamRun *runs = param_runs(p, &count);
    bool *fused = NEW_ARRAY(p->arena, bool, p->tensor_count + 1);
    build_train(p, fused);
    p->finish = graph_new(p, "finish");
    for (int i = 0; i < count; i++)
        update_others(p, &runs[i], fused);
}
