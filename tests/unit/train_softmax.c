/* train_softmax.c - the fixture as a training program; `train_softmax --write-data DIR` writes its data. */
#include "train_fixture.h"

#include <string.h>

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "--write-data") == 0)
        return fixture_write_data(argv[2], 1000, 200) ? SALUN_NO_SPACE : SALUN_OK;
    return salun_main_train(&fixture_program, argc, argv);
}
