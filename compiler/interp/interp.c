/* interp.c - tables, inputs and memory of the interpreter, and the run over a graph.
 * Owns every value: allocated before its node is evaluated, freed behind its last use. */
#include "interp/interp_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t DEFAULT_LIMIT = (size_t)8 << 30;

static size_t real_size(const Interp *it) {
    return it->use_double ? sizeof(double) : sizeof(float);
}

bool interp_fail(Interp *it, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(it->error, sizeof it->error, fmt, ap);
    va_end(ap);
    return false;
}

const char *interp_error(const Interp *it) {
    return it->broken[0] ? it->broken : it->error[0] ? it->error : NULL;
}

void *interp_alloc(Interp *it, int64_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > it->limit - it->used) {
        interp_fail(it, "the interpreter would need more than %zu MiB", it->limit >> 20);
        return NULL;
    }
    void *p = calloc(bytes ? bytes : 1, 1);
    if (!p)
        interp_fail(it, "out of memory: %zu bytes wanted", bytes);
    else
        it->used += bytes;
    return p;
}

void interp_free(Interp *it, void *p, int64_t count, size_t size) {
    if (!p)
        return;
    free(p);
    it->used -= (size_t)count * size;
}

Interp *interp_new(const Program *p, bool use_double, size_t limit) {
    Interp *it = calloc(1, sizeof *it);
    if (!it)
        return NULL;
    it->program = p;
    it->use_double = use_double;
    it->limit = limit ? limit : DEFAULT_LIMIT;
    it->scalar[SCALAR_SMOOTHING] = p->recipe.smoothing;
    for (int t = 0; t < TABLE_COUNT; t++) {
        it->table[t] = interp_alloc(it, p->table_size[t], real_size(it));
        if (it->table[t])
            it->table_size[t] = p->table_size[t];
        else
            snprintf(it->broken, sizeof it->broken, "table %s: %.200s", table_text[t], it->error);
    }
    return it;
}

static void free_values(Interp *it, Values *v) {
    interp_free(it, v->data, v->count, sizeof(double));
    *v = (Values){ 0 };
}

/* Forgets what the last run left. */
static void forget_run(Interp *it) {
    for (int i = 0; i < it->output_count; i++)
        free_values(it, &it->outputs[i]);
    for (int i = 0; i < it->id_count; i++)
        interp_free(it, it->value[i], it->value_count[i], real_size(it));
    interp_free(it, it->outputs, it->output_count, sizeof *it->outputs);
    interp_free(it, it->value, it->id_count, sizeof *it->value);
    interp_free(it, it->value_count, it->id_count, sizeof *it->value_count);
    it->outputs = NULL;
    it->value = NULL;
    it->value_count = NULL;
    it->output_count = it->id_count = 0;
}

void interp_destroy(Interp *it) {
    if (!it)
        return;
    forget_run(it);
    for (int i = 0; i < it->input_count; i++)
        free(it->inputs[i].data);
    free(it->inputs);
    for (int t = 0; t < TABLE_COUNT; t++)
        free(it->table[t]);
    free(it);
}

/* ---- tables ---- */

static bool in_table(Interp *it, TableId table, int64_t offset, int64_t count) {
    if (offset >= 0 && count >= 0 && count <= it->table_size[table] && offset <= it->table_size[table] - count)
        return true;
    return interp_fail(it, "elements %lld to %lld are not in table %s of %lld", (long long)offset,
                       (long long)(offset + count), table_text[table], (long long)it->table_size[table]);
}

static double load(const Interp *it, const void *from, int64_t i) {
    return it->use_double ? ((const double *)from)[i] : (double)((const float *)from)[i];
}

static void store(const Interp *it, void *to, int64_t i, double value) {
    if (it->use_double)
        ((double *)to)[i] = value;
    else
        ((float *)to)[i] = (float)value;
}

bool interp_set_table(Interp *it, TableId table, int64_t offset, const double *values, int64_t count) {
    if (!in_table(it, table, offset, count))
        return false;
    for (int64_t i = 0; i < count; i++)
        store(it, it->table[table], offset + i, values[i]);
    return true;
}

bool interp_get_table(Interp *it, TableId table, int64_t offset, double *values, int64_t count) {
    if (!in_table(it, table, offset, count))
        return false;
    for (int64_t i = 0; i < count; i++)
        values[i] = load(it, it->table[table], offset + i);
    return true;
}

static TableId home(const TensorDecl *t) {
    return t->is_state ? TABLE_STATES : TABLE_PARAMS;
}

bool interp_set_tensor(Interp *it, const TensorDecl *t, const double *values) {
    return interp_set_table(it, home(t), t->offset, values, shape_count(&t->shape));
}

bool interp_get_tensor(Interp *it, const TensorDecl *t, double *values) {
    return interp_get_table(it, home(t), t->offset, values, shape_count(&t->shape));
}

bool interp_get_gradient(Interp *it, const TensorDecl *t, double *values) {
    if (t->is_state)
        return interp_fail(it, "%s is a state: it has no gradient", t->name);
    return interp_get_table(it, TABLE_GRADS, t->offset, values, shape_count(&t->shape));
}

/* ---- inputs ---- */

enum { MAX_INPUTS = 1024 };

/* Room for `count` elements as input `index`. */
static double *input_room(Interp *it, int index, int64_t count) {
    if (index < 0 || index >= MAX_INPUTS || count < 0) {
        interp_fail(it, "there is no input %d of %lld elements", index, (long long)count);
        return NULL;
    }
    if (index >= it->input_count) {
        Values *grown = realloc(it->inputs, ((size_t)index + 1) * sizeof *grown);
        if (!grown) {
            interp_fail(it, "out of memory");
            return NULL;
        }
        memset(grown + it->input_count, 0, (size_t)(index + 1 - it->input_count) * sizeof *grown);
        it->inputs = grown;
        it->input_count = index + 1;
    }
    Values *v = &it->inputs[index];
    free_values(it, v);
    v->data = interp_alloc(it, count, sizeof(double));
    v->count = v->data ? count : 0;
    return v->data;
}

bool interp_set_input(Interp *it, int index, const void *data, DType type, int64_t count) {
    double *to = input_room(it, index, count);
    if (!to)
        return false;
    for (int64_t i = 0; i < count; i++) {
        switch (type) {
        case TYPE_F32: to[i] = (double)((const float *)data)[i]; break;
        case TYPE_I32: to[i] = (double)((const int32_t *)data)[i]; break;
        case TYPE_U8: to[i] = (double)((const uint8_t *)data)[i]; break;
        case TYPE_F16: return interp_fail(it, "no input is of float16");
        }
    }
    return true;
}

bool interp_set_input_double(Interp *it, int index, const double *data, int64_t count) {
    double *to = input_room(it, index, count);
    if (to && count)
        memcpy(to, data, (size_t)count * sizeof *to);
    return to != NULL;
}

void interp_set_step(Interp *it, uint64_t step) {
    it->step = step;
    it->scalar[SCALAR_STEP] = (double)step;
}

void interp_set_lr(Interp *it, double lr) {
    it->scalar[SCALAR_LR] = lr;
}

void interp_set_smoothing(Interp *it, double smoothing) {
    it->scalar[SCALAR_SMOOTHING] = smoothing;
}

void interp_set_seed(Interp *it, uint64_t seed) {
    it->seed = seed;
}

void interp_keep(Interp *it, bool keep) {
    it->keep = keep;
}

/* ---- running ---- */

/* uses[id]: how often the value is still read, by nodes that are needed, outputs and effects. */
static void count_uses(const Interp *it, const Graph *g, int *uses) {
    for (int i = 0; i < g->output_count; i++)
        uses[g->outputs[i].node->id]++;
    for (int i = 0; i < g->effect_count; i++)
        uses[g->effects[i].value->id]++;
    for (const Node *n = g->last; n; n = n->prev) {
        if (it->keep)
            uses[n->id]++;
        for (int i = 0; i < n->arity && uses[n->id]; i++)
            uses[n->in[i]->id]++;
    }
}

static void drop(Interp *it, const Node *n, int *uses) {
    if (--uses[n->id] > 0)
        return;
    interp_free(it, it->value[n->id], it->value_count[n->id], real_size(it));
    it->value[n->id] = NULL;
}

static bool run_node(Interp *it, const Node *n, int *uses) {
    Shape s = run_shape(&n->shape, it->n);
    int64_t count = shape_count(&s);
    void *result = interp_alloc(it, count, real_size(it));
    if (!result)
        return false;
    it->value[n->id] = result;
    it->value_count[n->id] = count;
    if (!(it->use_double ? evaluate_f64 : evaluate_f32)(it, n, result))
        return false;
    for (int i = 0; i < n->arity; i++)
        drop(it, n->in[i], uses);
    return true;
}

static bool run_nodes(Interp *it, const Graph *g) {
    int *uses = interp_alloc(it, g->next_id, sizeof *uses);
    if (!uses)
        return false;
    count_uses(it, g, uses);
    bool fine = true;
    for (const Node *n = g->first; n && fine; n = n->next)
        if (uses[n->id]) {
            fine = run_node(it, n, uses);
            if (!fine) {
                char why[sizeof it->error];
                memcpy(why, it->error, sizeof why);
                interp_fail(it, "%%%d %s %.80s: %.150s", n->id, op_info[n->op].text, n->tap, why);
            }
        }
    interp_free(it, uses, g->next_id, sizeof *uses);
    return fine;
}

static bool keep_outputs(Interp *it, const Graph *g) {
    it->outputs = interp_alloc(it, g->output_count, sizeof *it->outputs);
    if (!it->outputs)
        return false;
    it->output_count = g->output_count;
    for (int i = 0; i < g->output_count; i++) {
        int id = g->outputs[i].node->id;
        double *to = interp_alloc(it, it->value_count[id], sizeof *to);
        if (!to)
            return false;
        it->outputs[i] = (Values){ to, it->value_count[id] };
        for (int64_t k = 0; k < it->value_count[id]; k++)
            to[k] = load(it, it->value[id], k);
    }
    return true;
}

static bool apply_effect(Interp *it, const Effect *e) {
    TableId table = e->kind == EFFECT_SLAB ? e->table : e->kind == EFFECT_STATE ? TABLE_STATES : TABLE_GRADS;
    int64_t offset = e->kind == EFFECT_SLAB ? e->offset : e->tensor->offset;
    int64_t count = it->value_count[e->value->id];
    if (!in_table(it, table, offset, count))
        return false;
    size_t size = real_size(it);
    memcpy((char *)it->table[table] + (size_t)offset * size, it->value[e->value->id], (size_t)count * size);
    return true;
}

static bool begin_run(Interp *it, const Graph *g, int64_t n) {
    it->error[0] = '\0';
    forget_run(it);
    if (it->broken[0])
        return false;
    if (n < 1 || n > it->program->batch)
        return interp_fail(it, "n is %lld, not from 1 to the batch of %lld", (long long)n, (long long)it->program->batch);
    it->n = n;
    it->scalar[SCALAR_BATCH] = (double)n;
    it->value = interp_alloc(it, g->next_id, sizeof *it->value);
    it->value_count = it->value ? interp_alloc(it, g->next_id, sizeof *it->value_count) : NULL;
    if (!it->value_count) {
        interp_free(it, it->value, g->next_id, sizeof *it->value);
        it->value = NULL;
        return false;
    }
    it->id_count = g->next_id;
    return true;
}

bool interp_run(Interp *it, const Graph *g, int64_t n) {
    if (!begin_run(it, g, n) || !run_nodes(it, g) || !keep_outputs(it, g))
        return false;
    for (int i = 0; i < g->effect_count; i++)
        if (!apply_effect(it, &g->effects[i]))
            return false;
    return true;
}

const double *interp_output(const Interp *it, int i, int64_t *count) {
    if (i < 0 || i >= it->output_count)
        return NULL;
    if (count)
        *count = it->outputs[i].count;
    return it->outputs[i].data;
}

double interp_value(const Interp *it, const Node *n, int64_t e) {
    return load(it, it->value[n->id], e);
}
