// Asio's own code, compiled once where BOOST_ASIO_SEPARATE_COMPILATION is defined; elsewhere it is in the
// headers.
#include <boost/asio/detail/config.hpp>
#if !defined(BOOST_ASIO_HEADER_ONLY)
#include <boost/asio/impl/src.hpp>
#endif
