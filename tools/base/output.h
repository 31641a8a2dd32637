/*
 * Standard output in whole pieces. A program that is told to end does so between two of them, and
 * takes the file along that it was about to make.
 */
#ifndef GPA_OUTPUT_H
#define GPA_OUTPUT_H

#include <stddef.h>

/* From now on SIGINT, SIGTERM and SIGHUP, unless they are ignored, wait for the piece under way
 * and end the program then, as if it had no say in it. */
void output_guard(void);

/* Writes a piece. Returns 0, with errno, when not all of it went out. */
int output_write(const char *bytes, size_t length);

/* In between the program does not end. The name is that of a file to remove should it end later;
 * NULL: none. */
void output_hold(void);
void output_release(const char *half_made);

#endif
