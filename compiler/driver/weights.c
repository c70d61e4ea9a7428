/* weights.c - a program without kernels: its tensors as the runtime's tables, so that initial values, weight files
 * and conversions are the runtime's own and cannot differ from what compiled networks do. */
#include "compile.h"

static SalunTensor tensor(const TensorDecl *t) {
    static const int inits[] = { SALUN_INIT_ZEROS, SALUN_INIT_CONST, SALUN_INIT_NORMAL, SALUN_INIT_TRUNC_NORMAL, SALUN_INIT_UNIFORM };
    static const int constraints[] = { SALUN_FREE, SALUN_GREATER, SALUN_AT_LEAST, SALUN_BETWEEN };
    SalunTensor s = { .name = t->name, .is_state = t->is_state, .rank = t->shape.rank, .count = shape_count(&t->shape),
                      .offset = t->offset, .raw_offset = t->raw_offset, .init = inits[t->init.kind],
                      .constraint = constraints[t->constraint.kind], .init_a = t->init.a, .init_b = t->init.b,
                      .lo = t->constraint.lo, .hi = t->constraint.hi };
    for (int i = 0; i < t->shape.rank; i++)
        s.dim[i] = t->shape.dim[i];
    return s;
}

static SalunPreStep pre_step(const PreStep *p) {
    static const int kinds[] = { SALUN_RESIZE, SALUN_CENTER_CROP, SALUN_NORMALIZE };
    SalunPreStep s = { .kind = kinds[p->kind], .channels = p->channels, .size = p->size };
    for (int i = 0; i < COUNT(s.mean); i++) {
        s.mean[i] = p->mean[i];
        s.std[i] = p->std[i];
    }
    return s;
}

static SalunPort port(const Port *p) {
    static const int types[] = { SALUN_F32, SALUN_I32, SALUN_U8 };
    const Shape *s = &p->node->shape;
    SalunPort r = { .name = p->name, .type = types[p->node->type], .rank = s->rank - s->batched, .count = 1 };
    for (int i = 0; i < r.rank; i++) {
        r.dim[i] = s->dim[i + s->batched];
        r.count *= r.dim[i];
    }
    return r;
}

static const SalunPort *ports(Arena *a, const Port *list, int count) {
    SalunPort *r = NEW_ARRAY(a, SalunPort, count + 1);
    for (int i = 0; i < count; i++)
        r[i] = port(&list[i]);
    return r;
}

const SalunProgram *weights_program(Arena *a, const Program *p) {
    SalunProgram *s = NEW(a, SalunProgram);
    SalunTensor *tensors = NEW_ARRAY(a, SalunTensor, p->tensor_count + 1);
    SalunPreStep *pre = NEW_ARRAY(a, SalunPreStep, p->pre_count + 1);
    for (int i = 0; i < p->tensor_count; i++)
        tensors[i] = tensor(p->tensors[i]);
    for (int i = 0; i < p->pre_count; i++)
        pre[i] = pre_step(&p->pre[i]);
    *s = (SalunProgram){ .abi = SALUN_ABI, .name = p->name, .numeric = "none", .source = p->file, .batch = p->batch,
                         .tensors = tensors, .tensor_count = p->tensor_count, .pre = pre, .pre_count = p->pre_count,
                         .inputs = ports(a, p->infer->inputs, p->infer->input_count), .input_count = p->infer->input_count,
                         .outputs = ports(a, p->infer->outputs, p->infer->output_count), .output_count = p->infer->output_count };
    for (int i = 0; i < TABLE_COUNT; i++)
        s->table_floats[i] = p->table_size[i];
    return s;
}
