# Installs the library into an empty folder, builds the examples against it as anybody would (find_package(mla)), and runs
# them. Run by ctest: cmake -D BUILD_DIR=... -D SOURCE_DIR=... -D WORK_DIR=... -D GENERATOR=... [-D CXX_FLAGS=...] -P this
file(REMOVE_RECURSE ${WORK_DIR})
set(prefix ${WORK_DIR}/prefix)

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE out)
  if(NOT code EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}\nended with ${code}:\n${out}")
  endif()
  set(output "${out}" PARENT_SCOPE)
endfunction()

run(${CMAKE_COMMAND} --install ${BUILD_DIR} --prefix ${prefix} --component development)

# The headers that are installed must not refer to anything that is not.
file(GLOB headers ${prefix}/include/mla/*.h)
list(LENGTH headers n_headers)
if(n_headers LESS 6)
  message(FATAL_ERROR "only ${n_headers} headers installed: ${headers}")
endif()
foreach(header IN LISTS headers)
  file(STRINGS ${header} includes REGEX "^ *# *include *\"")
  foreach(line IN LISTS includes)
    if(NOT line MATCHES "\"mla/")
      message(FATAL_ERROR "${header} includes an internal header: ${line}")
    endif()
  endforeach()
endforeach()

run(${CMAKE_COMMAND} -S ${SOURCE_DIR}/examples -B ${WORK_DIR}/build -G ${GENERATOR} -D CMAKE_PREFIX_PATH=${prefix}
  "-DCMAKE_CXX_FLAGS=${CXX_FLAGS}" -D CMAKE_BUILD_TYPE=None)
run(${CMAKE_COMMAND} --build ${WORK_DIR}/build)

run(${WORK_DIR}/build/attention)
if(NOT output MATCHES "3997696 bytes per token" OR NOT output MATCHES "70272 bytes per token")
  message(FATAL_ERROR "attention printed something else:\n${output}")
endif()

run(${WORK_DIR}/build/generate ${SOURCE_DIR}/models/mla-default.gguf "The American flag is red, white, and")
if(NOT output MATCHES "^The American flag is red, white, and [^\n]+" OR NOT output MATCHES "[0-9]+ tokens after a prompt")
  message(FATAL_ERROR "generate printed something else:\n${output}")
endif()
string(REGEX MATCHALL "sample:[^\n]" samples "${output}")
list(LENGTH samples n_samples)
if(NOT n_samples EQUAL 3)
  message(FATAL_ERROR "generate printed ${n_samples} samples instead of 3:\n${output}")
endif()
